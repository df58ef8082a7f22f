from .image_hasher import ImageHasher as ImageHasher
from .image_hasher import is_hasher as is_hasher
