from .discriminator import ModalityDiscriminator as ModalityDiscriminator
from .options import ModelOptions as ModelOptions
from .published import read_published as read_published
from .published import write_published as write_published
from .two_stream import TwoStream as TwoStream
from .two_stream import build_model as build_model
