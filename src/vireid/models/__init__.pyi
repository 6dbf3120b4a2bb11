from .discriminator import ModalityDiscriminator as ModalityDiscriminator
from .options import ModelOptions as ModelOptions
from .pretrained import shipped_weights as shipped_weights
from .two_stream import TwoStream as TwoStream
from .two_stream import build_model as build_model
