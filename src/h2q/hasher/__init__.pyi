from .folder import is_hasher as is_hasher
from .folder import is_vacant as is_vacant
from .image_hasher import ImageHasher as ImageHasher
