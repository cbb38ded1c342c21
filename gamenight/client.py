"""All that a program needs to play, to predict, to watch and to fetch what players said; docs/client.md shows it.

>>> from gamenight.client import App, Player, fetch_examples, watch

`AsyncPlayer`, `AsyncApp` and `async_watch` are the same for asyncio. Every error is a `GameNightError` of one line that says
what to do.
"""

from gamenight.app import Answer as Answer
from gamenight.app import App as App
from gamenight.app import AsyncApp as AsyncApp
from gamenight.archive import fetch_examples as fetch_examples
from gamenight.archive import pixels as pixels
from gamenight.blocking import Player as Player
from gamenight.blocking import watch as watch
from gamenight.conversation import SeenDrawing as SeenDrawing
from gamenight.conversation import SeenGuess as SeenGuess
from gamenight.conversation import SeenReceipt as SeenReceipt
from gamenight.errors import GameNightError as GameNightError
from gamenight.errors import GameNightRefused as GameNightRefused
from gamenight.errors import GameNightSilent as GameNightSilent
from gamenight.errors import GameNightUnreachable as GameNightUnreachable
from gamenight.home import key_of_this_machine as key_of_this_machine
from gamenight.home import settings_of_this_machine as settings_of_this_machine
from gamenight.home import url_of_this_machine as url_of_this_machine
from gamenight.player import AsyncPlayer as AsyncPlayer
from gamenight.watching import async_watch as async_watch
