"""What the callers of the matrix ask, whatever their SDK: the same question, tool and schema."""

import json

from pydantic import BaseModel
from upstream import TOOL_ARGUMENTS

QUESTION = "When does it begin?"
RESULT = "18 degrees"
ARGUMENTS = json.loads(TOOL_ARGUMENTS)


class Weather(BaseModel):
    """Tells the weather of a city."""

    city: str
    unit: str


class Play(BaseModel):
    title: str
    seats: int


PLAY = Play(title="Faust", seats=312)
WEATHER = Weather(city="Wien", unit="celsius")
