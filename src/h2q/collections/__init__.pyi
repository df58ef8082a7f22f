from .collection import Collection as Collection
from .collection import Update as Update
from .duplicates import DuplicateGroup as DuplicateGroup
from .duplicates import find_duplicates as find_duplicates
from .opening import open_collection as open_collection
from .pictures import PictureCollection as PictureCollection
from .texts import TextCollection as TextCollection
