from .indexes import BinaryIndex as BinaryIndex
from .indexes import open_index as open_index
from .metrics import embeddings_mean_average_precision as embeddings_mean_average_precision
from .metrics import float_neighbors as float_neighbors
from .metrics import mean_average_precision as mean_average_precision
from .metrics import neighbor_recall as neighbor_recall
from .neighbors import Neighbors as Neighbors
from .neighbors import RadiusNeighbors as RadiusNeighbors
