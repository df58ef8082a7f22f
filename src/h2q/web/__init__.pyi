from .app import create_app as create_app
from .app import write_openapi as write_openapi
from .contents import Contents as Contents
from .contents import open_contents as open_contents
from .server import serve as serve
from .settings import Settings as Settings
