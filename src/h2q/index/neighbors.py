"""Search results."""

from h2q.hamming.neighbors import Neighbor, Neighbors, QueryNeighbors, RadiusNeighbors

__all__ = ["Neighbor", "Neighbors", "QueryNeighbors", "RadiusNeighbors"]
