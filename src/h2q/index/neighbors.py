"""What a search gives."""

from h2q.hamming.neighbors import Neighbors, RadiusNeighbors

__all__ = ["Neighbors", "RadiusNeighbors"]
