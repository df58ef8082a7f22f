from .asymmetric import AsymmetricScan as AsymmetricScan
from .neighbors import Neighbors as Neighbors
from .neighbors import RadiusNeighbors as RadiusNeighbors
from .scans import NearestScan as NearestScan
from .scans import RadiusScan as RadiusScan
from .scans import distances as distances
from .scans import nearest as nearest
from .scans import within as within
