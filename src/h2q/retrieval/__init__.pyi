from .indexes import BinaryIndex as BinaryIndex
from .indexes import open_index as open_index
from .neighbors import Neighbors as Neighbors
from .neighbors import RadiusNeighbors as RadiusNeighbors
