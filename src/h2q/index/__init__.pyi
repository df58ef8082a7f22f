from .addresses import open_index as open_index
from .exact import BinaryIndex as BinaryIndex
from .neighbors import Neighbor as Neighbor
from .neighbors import Neighbors as Neighbors
from .neighbors import QueryNeighbors as QueryNeighbors
from .neighbors import RadiusNeighbors as RadiusNeighbors
from .protocol import Index as Index
