"""The naming rule: the specification's own examples, and what is said about every other name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.migrations.migration import explain_bad_filename, format_version, parse_filename


@pytest.mark.parametrize(
    ("filename", "parsed"),
    [
        ("001_create_audit_ledger.sql", ("001", "create_audit_ledger")),
        ("016_add_user_preferences.sql", ("016", "add_user_preferences")),
        ("000_zero.sql", ("000", "zero")),
        ("1000_after_999.sql", ("1000", "after_999")),
        ("0016_padded_further.sql", ("0016", "padded_further")),
        ("002_a.sql", ("002", "a")),
        ("003_2fa.sql", ("003", "2fa")),
    ],
)
def test_a_good_name_is_its_version_and_its_description(filename: str, parsed: tuple[str, str]) -> None:
    assert parse_filename(filename) == parsed


@pytest.mark.parametrize(
    ("filename", "complaint"),
    [
        ("1_create_audit.sql", "version not padded to 3 digits; rename it to 001_create_audit.sql"),
        ("016-add-preferences.sql", "hyphens, use underscores; rename it to 016_add_preferences.sql"),
        ("016 add preferences.sql", "blanks, use underscores; rename it to 016_add_preferences.sql"),
        ("016_AddPreferences.sql", "capital letters, use snake_case; rename it to 016_addpreferences.sql"),
        ("016_add.SQL", "the ending is not in lower case; rename it to 016_add.sql"),
        ("016__add.sql", "underscores stand one at a time between words; rename it to 016_add.sql"),
        ("016_add_.sql", "underscores stand one at a time between words; rename it to 016_add.sql"),
        ("016.sql", "no description after the version; name it like 016_add_user_preferences.sql"),
        ("016_.sql", "no description after the version; name it like 016_add_user_preferences.sql"),
        ("add_users.sql", "no version ahead of the description; name it like 016_add_user_preferences.sql"),
        ("v2_add_users.sql", "a letter ahead of the version; name it like 016_add_user_preferences.sql"),
        (
            "016_größe.sql",
            "letters other than a to z, 0 to 9 and _; name it like 016_add_user_preferences.sql",
        ),
        (
            "016_add.up.sql",
            (
                "one file a migration, and what undoes it in revert/ under the same name; "
                "name it like 016_add_user_preferences.sql"
            ),
        ),
        (
            "7-Add Users.sql",
            (
                "version not padded to 3 digits, hyphens, use underscores, blanks, use underscores, "
                "capital letters, use snake_case; rename it to 007_add_users.sql"
            ),
        ),
    ],
)
def test_a_bad_name_is_told_every_fault_and_the_name_that_is_right(filename: str, complaint: str) -> None:
    assert parse_filename(filename) is None
    assert explain_bad_filename(filename) == complaint


@pytest.mark.parametrize("filename", ["٠١٦_arabic_digits.sql", "016_add.sql\n", "016_\uff41dd.sql", "dir/016_add.sql"])
def test_only_ascii_letters_and_digits_make_a_name(filename: str) -> None:
    assert parse_filename(filename) is None


@given(st.text(alphabet="0179abcXYZ_-. é", max_size=12).map(lambda stem: stem + ".sql"))
def test_a_suggested_name_is_always_a_good_one(filename: str) -> None:
    if parse_filename(filename):
        return
    _, rename, right = explain_bad_filename(filename).partition("; rename it to ")
    if rename:
        assert parse_filename(right)
        assert right != filename


@given(st.integers(min_value=0, max_value=10**6))
def test_a_padded_number_reads_back_and_makes_a_name(number: int) -> None:
    assert int(format_version(number)) == number
    assert parse_filename(f"{format_version(number)}_x.sql")
