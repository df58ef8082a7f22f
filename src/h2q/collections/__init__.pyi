from .duplicates import DuplicateGroup as DuplicateGroup
from .duplicates import find_duplicates as find_duplicates
from .pictures import PictureCollection as PictureCollection
from .pictures import Update as Update
