"""The tables of codes agree with a library that is built from the standards' lists."""

from __future__ import annotations

import pycountry

from stream_capi.events.tables import COUNTRIES, CURRENCIES


def test_the_currencies_are_those_of_iso_4217() -> None:
    assert sorted(CURRENCIES) == sorted(currency.alpha_3 for currency in pycountry.currencies)


def test_the_countries_are_those_of_iso_3166_1() -> None:
    assert sorted(COUNTRIES) == sorted(country.alpha_2 for country in pycountry.countries)
