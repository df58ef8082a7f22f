from .dataset import ImageDataset as ImageDataset
from .images import BrokenImageError as BrokenImageError
from .locations import cache_folder as cache_folder
from .locations import data_folder as data_folder
from .locations import find_data as find_data
from .locations import search_folders as search_folders
from .registry import DATASETS as DATASETS
from .registry import load_dataset as load_dataset
