from .addresses import open_index as open_index
from .exact import BinaryIndex as BinaryIndex
from .neighbors import Neighbors as Neighbors
from .neighbors import RadiusNeighbors as RadiusNeighbors
