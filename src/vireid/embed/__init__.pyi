from .activation import similarity_maps as similarity_maps
from .embedder import Embedder as Embedder
from .job import EmbedSummary as EmbedSummary
from .job import embed_files as embed_files
from .loading import import_published as import_published
from .loading import load as load
from .storage import load_embeddings as load_embeddings
from .storage import save_embeddings as save_embeddings
