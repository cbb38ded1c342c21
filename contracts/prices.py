"""Defines the list of prices by which trainings and endpoints are reckoned: dated, and replaced by a setting (way 3). Pure.

`producers.price_file` reads it from ``prices.json`` beside this module, or from the file that GAMENIGHT_PRICES names. Money is
decimal and exact, to the millionth of a dollar; events carry it as a number. The estimates are for comparing, not for an
invoice: taxes, discounts and storage are left out.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Context, Decimal
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
)

STALE_MONTHS: Final = 12
"""After how many months a list is said to be old."""
_SECONDS_AN_HOUR: Final = Decimal(3600)
_MILLIONTH: Final = Decimal("0.000001")
_WIDE: Final = Context(prec=400)
"""Decimal refuses to round what has more digits than this: any float has fewer."""


def dollars(amount: float | Decimal, step: Decimal = _MILLIONTH) -> Decimal:
    """Return an amount of money, exact and rounded to a step: to the millionth of a dollar, if no other is given.

    >>> dollars(0.04011527777777778)
    Decimal('0.040115')
    """
    return Decimal(str(amount)).quantize(step, context=_WIDE)


Price = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


Dollars = Annotated[
    Decimal,
    Field(ge=0, le=1_000_000_000, allow_inf_nan=False),
    AfterValidator(dollars),
    PlainSerializer(float, return_type=float, when_used="json"),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1_000_000_000}),
]
"""An amount as events carry it: to the millionth, and a number in JSON, as it was before money was decimal."""


class PricesUnreadable(ValueError):
    """A file is no list of prices; the message says what is wrong with it."""


class UnknownInstance(LookupError):
    """The list has no price for a type of instance; the message says what to add."""


class PriceList(BaseModel):
    """What a cloud asks for, on a day, in a region."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: date
    """The day on which these were the prices."""
    region: Annotated[str, Field(min_length=1, max_length=64)]
    currency: Literal["USD"]
    source: Annotated[str, Field(min_length=1, max_length=200)]
    """Whose list it is, as a reader would look for it."""
    instances_per_hour: Annotated[dict[str, Price], Field(max_length=2000)]
    """What one instance costs in dollars an hour, for training and for real-time inference alike, by its type."""
    serverless_per_gb_second: Price
    """What a serverless endpoint costs for each GB of its memory and each second of a call."""
    serverless_per_gb_of_data: Price
    """What it costs for each GB that goes in or comes out."""

    def instance(self, kind: str) -> Decimal:
        """Return the dollars an hour of one instance.

        Raises:
            UnknownInstance: If the list does not have the type.
        """
        try:
            return self.instances_per_hour[kind]
        except KeyError:
            raise UnknownInstance(
                f"no price of {kind!r} in the list of {self.as_of}: add it to instances_per_hour, in dollars an hour,"
                " in a copy of contracts/prices.json that GAMENIGHT_PRICES names"
            ) from None

    def endpoint(self, instances: Iterable[tuple[str, int]]) -> Decimal:
        """Return the dollars an hour that an endpoint costs, given the number of each type of instance.

        Raises:
            UnknownInstance: If the list does not have a type.
        """
        return sum((self.instance(kind) * count for kind, count in instances), Decimal(0))

    def training(self, kind: str, count: int, seconds: float) -> Decimal:
        """Return the dollars that a training costs, to the millionth.

        Args:
            kind: The type of instance.
            count: How many of them.
            seconds: What SageMaker bills of each. On spot instances these are fewer than it took: SageMaker tells the discount
                as time (`BillableTimeInSeconds`), so that their price is this one.

        Raises:
            UnknownInstance: If the list does not have the type.
        """
        return dollars(self.instance(kind) * count * Decimal(str(seconds)) / _SECONDS_AN_HOUR)

    def stale(self, today: date) -> str | None:
        """Say that the list is old; None: it is not."""
        months = (today.year - self.as_of.year) * 12 + today.month - self.as_of.month - (today.day < self.as_of.day)
        if months < STALE_MONTHS:
            return None
        return f"the prices are {months} months old ({self.as_of}): set GAMENIGHT_PRICES to a newer list"


def price_list(text: str | bytes) -> PriceList:
    """Read a list of prices from JSON.

    Raises:
        PricesUnreadable: If it is none.
    """
    try:
        return PriceList.model_validate_json(text)
    except ValidationError as wrong:
        first = wrong.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise PricesUnreadable(f"{where}: {first['msg']}; see contracts/prices.json for how a list of prices looks") from None
