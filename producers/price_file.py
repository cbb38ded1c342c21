"""Reads the list of prices that the settings name (way 3, OPERATE)."""

from contracts.prices import PriceList, PricesUnreadable, price_list
from contracts.settings import REPOSITORY, Settings


def read_prices(settings: Settings) -> PriceList:
    """Return the prices by which trainings and endpoints are reckoned, as the file has them now.

    Raises:
        PricesUnreadable: If the file is not there, or is no list of prices.
    """
    file = settings.prices or REPOSITORY / "contracts" / "prices.json"
    try:
        return price_list(file.read_bytes())
    except OSError as absent:
        raise PricesUnreadable(f"GAMENIGHT_PRICES: {file} cannot be read ({absent.strerror})") from None
    except PricesUnreadable as wrong:
        raise PricesUnreadable(f"GAMENIGHT_PRICES: {file}: {wrong}") from None
