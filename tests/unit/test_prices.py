"""Lists of prices: exact, dated, replaced by a setting; what is not in them is said."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from contracts.prices import PriceList, PricesUnreadable, UnknownInstance, price_list
from contracts.settings import Settings
from producers.price_file import read_prices

SHIPPED = read_prices(Settings())


def test_the_seeds_training_six_minutes_on_two_instances_of_their_kind() -> None:
    """Their slides say four cents, which is EC2's price of that type; SageMaker's own is a fifth more."""
    assert SHIPPED.training("ml.c4.xlarge", 2, 360) == Decimal("0.047800")
    ec2 = SHIPPED.model_copy(update={"instances_per_hour": {"c4.xlarge": Decimal("0.199")}})
    assert ec2.training("c4.xlarge", 2, 360) == Decimal("0.039800")


def test_money_is_exact_where_floats_are_not() -> None:
    thrice = SHIPPED.model_copy(update={"instances_per_hour": {"a": Decimal("0.1"), "b": Decimal("0.2")}})
    assert thrice.endpoint([("a", 1), ("b", 1)]) == Decimal("0.3")
    assert thrice.training("a", 1, 0.3) == Decimal("0.000008")


def test_an_unknown_instance_is_an_error_that_says_what_to_add() -> None:
    with pytest.raises(UnknownInstance, match=r"'ml\.p9\.huge'.*add it to instances_per_hour.*GAMENIGHT_PRICES"):
        SHIPPED.endpoint([("ml.m5.large", 1), ("ml.p9.huge", 1)])


@pytest.mark.parametrize(
    ("today", "old"),
    [(date(2026, 1, 14), None), (date(2026, 1, 15), "12 months"), (date(2026, 11, 29), "22 months"), (date(2024, 1, 1), None)],
)
def test_a_list_is_old_after_a_year_to_the_day(today: date, old: str | None) -> None:
    said = SHIPPED.model_copy(update={"as_of": date(2025, 1, 15)}).stale(today)

    assert (said is None) if old is None else (said is not None and old in said and "GAMENIGHT_PRICES" in said)


def test_another_list_is_named_by_a_setting_and_what_is_wrong_with_it_is_one_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.json"
    told = json.loads(SHIPPED.model_dump_json())
    mine.write_text(json.dumps(told | {"region": "eu-central-1", "instances_per_hour": {"ml.m5.large": 0.138}}))
    assert read_prices(Settings(prices=mine)).instance("ml.m5.large") == Decimal("0.138")

    for text, said in (("{", "Invalid JSON"), (json.dumps(told | {"as_of": "soon"}), "as_of"), ('{"a": NaN}', "prices.json")):
        mine.write_text(text)
        with pytest.raises(PricesUnreadable, match=said) as wrong:
            read_prices(Settings(prices=mine))
        assert str(mine) in str(wrong.value)
        assert "\n" not in str(wrong.value)
    with pytest.raises(PricesUnreadable, match="cannot be read"):
        read_prices(Settings(prices=tmp_path / "none.json"))


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "1e9"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    told = json.loads(SHIPPED.model_dump_json())
    with pytest.raises(PricesUnreadable, match="instances_per_hour"):
        price_list(json.dumps(told | {"instances_per_hour": {"ml.m5.large": price}}))


def test_the_default_instances_are_in_the_list() -> None:
    assert isinstance(SHIPPED, PriceList)
    for kind in (Settings().training_instance, Settings().serving_instance):
        assert SHIPPED.instance(kind) > 0
