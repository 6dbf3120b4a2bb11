from .index import MilvusIndex as MilvusIndex
