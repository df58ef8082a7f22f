from .collections import Collection as Collection
from .collections import Part as Part
from .collections import open_collection as open_collection
from .run import EncodedDataset as EncodedDataset
from .run import encode_dataset as encode_dataset
from .shards import read_shards as read_shards
