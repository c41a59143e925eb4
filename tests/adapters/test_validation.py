"""Values of a connection are checked by the table of technologies, and each refusal names its field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.adapters.technologies import TECHNOLOGIES, Field, FieldType, Technology, Tier
from keyturn.adapters.validation import (
    RESERVED_KEYS,
    check_can_reach,
    fields_of,
    read_connection_key,
    secrets_of,
    split_secrets,
    validate,
    would_send_elsewhere,
)
from keyturn.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

CERTIFICATE_FREE = {FieldType.CERTIFICATES}
WAYS = [(each, way.name) for each in TECHNOLOGIES for way in each.authentication_types]
NAMES = [f"{each.name}-{way}" for each, way in WAYS]


def example_of(field: Field, technology: Technology) -> Any:
    """A value that a field takes."""
    match field.type:
        case FieldType.HOST:
            return f"db{(technology.host_suffixes or ('.example.com',))[0]}"
        case FieldType.PORT:
            return 4321
        case FieldType.CHOICE:
            return field.choices[-1]
        case FieldType.FLAG:
            return True
        case FieldType.OBJECT:
            return {each.name: example_of(each, technology) for each in field.fields}
        case _:
            return f"value-of-{field.name}"


def example(technology: Technology, way: str) -> dict[str, Any]:
    """Values for every field but certificates, which have tests of their own."""
    values = {
        field.name: example_of(field, technology)
        for field in fields_of(technology, way)
        if field.type is not FieldType.CERTIFICATES
    }
    return {"technology": technology.name, "authenticationType": way, **values}


def paths(fields: tuple[Field, ...], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Field]]:
    """Each field with the names that lead to it."""
    for field in fields:
        yield (*before, field.name), field
        yield from paths(field.fields, (*before, field.name))


def with_value(values: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The values with another one at a path."""
    if len(path) == 1:
        return {**values, path[0]: value}
    return {**values, path[0]: with_value(values[path[0]], path[1:], value)}


@pytest.mark.parametrize(("technology", "way"), WAYS, ids=NAMES)
def test_every_technology_takes_its_fields(technology: Technology, way: str) -> None:
    """Values of all fields are accepted, and accepted values are accepted again, unchanged."""
    values = validate(example(technology, way))
    assert values == example(technology, way)
    assert validate(values) == values


@pytest.mark.parametrize(("technology", "way"), WAYS, ids=NAMES)
def test_required_fields_alone_are_enough(technology: Technology, way: str) -> None:
    """Defaults are filled in, and fields that are left out or empty stay out."""
    required = {
        name: value
        for name, value in example(technology, way).items()
        if name in {"technology", "authenticationType"}
        or next(each for each in fields_of(technology, way) if each.name == name).required
    }
    values = validate(required)
    for field in fields_of(technology, way):
        assert (field.name in values) == (field.required or field.default is not None)
        if field.required:
            left_out = {name: value for name, value in required.items() if name != field.name}
            for missing in (left_out, {**required, field.name: ""}, {**required, field.name: None}):
                with pytest.raises(InvalidInput) as refused:
                    validate(missing)
                assert (refused.value.field, refused.value.code) == (field.name, "missing")


BAD: dict[FieldType, tuple[object, ...]] = {
    FieldType.TEXT: (7, True, ["a"], {"a": 1}, "a\0b", "\ud800"),
    FieldType.HOST: ("a,b", "http://a", "/tmp/s", 5),
    FieldType.PORT: (-1, 0, 65_536, 5432.0, True, "5432 ", "0x50", "５４３２", "99999999999999999999", [1]),
    FieldType.CHOICE: ("prefer", "VERIFY-FULL", "verify-full ", 1),
    FieldType.FLAG: ("true", 1),
    FieldType.CERTIFICATES: ("a", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 1),
    FieldType.OBJECT: ("a", ["content"], {"unknown": "a"}),
}


@pytest.mark.parametrize(("technology", "way"), WAYS, ids=NAMES)
def test_bad_values_are_refused_at_their_field(technology: Technology, way: str) -> None:
    """Values of another type, range or length are refused at the field; no secret is quoted."""
    good = example(technology, way)
    for path, field in paths(fields_of(technology, way)):
        for value in (*BAD[field.type], "x" * (field.max_length + 1)):
            with pytest.raises(InvalidInput) as refused:
                validate(with_value(good, path, value))
            assert refused.value.field.startswith(".".join(path))
            assert not (field.is_secret and str(value) in str(refused.value) and len(str(value)) > 3)


OPTIONS = (
    "host=evil user=a", "a;b=c", "a?allowLoadLocalInfile=true", "postgresql://evil/a", "jdbc:mysql://evil",
    "/var/run/postgresql", "service=a", "a\nb", "/etc/passwd",
)  # fmt: skip


@pytest.mark.parametrize("value", OPTIONS)
@pytest.mark.parametrize("technology", [each for each in TECHNOLOGIES if each.tier is not Tier.KEPT])
def test_no_name_is_a_string_of_options(technology: Technology, value: str) -> None:
    """Names of databases, users, catalogs and roles hold no option, no URL and no path (rule O1)."""
    way = technology.authentication_types[0].name
    for field in fields_of(technology, way):
        if field.type is FieldType.TEXT and not field.is_secret:
            with pytest.raises(InvalidInput) as refused:
                validate({**example(technology, way), field.name: value})
            assert refused.value.field == field.name


@pytest.mark.parametrize(
    "name",
    ["hostaddr", "service", "passfile", "sslrootcert", "sslkey", "options", "unix_socket", "channel_binding",
     "connectionStringOptions", "userFiles", "local_infile", "Hostname", ""],
)  # fmt: skip
@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_unknown_fields_are_refused_by_name(technology: Technology, name: str) -> None:
    """No option of a driver is a field, whatever technology it is for."""
    way = technology.authentication_types[0].name
    with pytest.raises(InvalidInput) as refused:
        validate({**example(technology, way), name: "a"})
    assert refused.value.field == name


@pytest.mark.parametrize("name", [None, "", "postgresql", "SQLite", "DuckDB", 5, ["PostgreSQL"]])
def test_unknown_technologies_are_refused(name: object) -> None:
    """Only those of the table are known, by exactly their names (rule O2)."""
    with pytest.raises(InvalidInput) as refused:
        validate({"technology": name})
    assert refused.value.field == "technology"


@pytest.mark.parametrize("way", ["", "keyPair", None, 5, []])
def test_unknown_ways_to_sign_in_are_refused(way: object) -> None:
    """PostgreSQL takes a user and a password."""
    with pytest.raises(InvalidInput) as refused:
        validate({"technology": "PostgreSQL", "authenticationType": way})
    assert refused.value.field == "authenticationType"


@pytest.mark.parametrize("key", ["123456789", "sales", "Sales_EU-2", "a" * 128, "databases"])
def test_keys_of_connections(key: str) -> None:
    """Letters, digits, hyphens and underscores make a key; digits alone too."""
    assert read_connection_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "a" * 129, "a b", "a.b", "a/b", "ä", "a\n", *sorted(RESERVED_KEYS), "Search", "BULK"]
)
def test_reserved_words_and_other_characters_are_no_keys(key: str) -> None:
    """A key that could be taken for a part of a path is refused, in any case of letters."""
    with pytest.raises(InvalidInput) as refused:
        read_connection_key(key)
    assert refused.value.field == "connectionKey"


@pytest.mark.parametrize(("technology", "way"), WAYS, ids=NAMES)
def test_secrets_are_told_apart(technology: Technology, way: str) -> None:
    """The plain part holds no secret, the secret part nothing else, and the secrets are all that it holds."""
    values = validate(example(technology, way))
    plain, secret = split_secrets(values)
    for path, field in paths(fields_of(technology, way)):
        if field.is_secret:
            assert f"value-of-{field.name}" not in str(plain)
            assert f"value-of-{field.name}" in str(secret)
            assert f"value-of-{field.name}" in set(secrets_of(values)), path
        elif field.type is FieldType.TEXT:
            assert f"'value-of-{field.name}'" not in str(secret)


@pytest.mark.parametrize(("technology", "way"), WAYS, ids=NAMES)
def test_secrets_stay_only_with_where_they_are_sent(technology: Technology, way: str) -> None:
    """Another host, port, user or encryption sends them elsewhere; another secret does not (rule S4)."""
    before = validate(example(technology, way))
    assert not would_send_elsewhere(before, before)
    for path, field in paths(fields_of(technology, way)):
        if field.fields or field.type is FieldType.CERTIFICATES:
            continue
        other = {
            FieldType.PORT: 99,
            FieldType.FLAG: False,
            FieldType.CHOICE: field.choices[:1] and field.choices[0],
        }
        host = f"other{(technology.host_suffixes or ('.example.com',))[0]}"
        value = {**other, FieldType.HOST: host}.get(field.type, "other")
        assert would_send_elsewhere(before, validate(with_value(before, path, value))) == field.clears_secrets


@pytest.mark.parametrize("name", ["hostname", "port", "username", "tlsMode", "tlsCertificate"])
def test_where_secrets_go_is_known_of_each_technology(name: str) -> None:
    """A field of this name clears secrets wherever there is one."""
    found = [field for each, way in WAYS for field in fields_of(each, way) if field.name == name]
    assert found
    assert all(field.clears_secrets for field in found)


def test_an_account_at_snowflake_is_under_its_domain() -> None:
    """The driver of Snowflake asks DNS itself, so that only the vendor's names are taken."""
    technology = next(each for each in TECHNOLOGIES if each.name == "Snowflake")
    for host in (
        "example.com",
        "snowflakecomputing.com.example.com",
        "evilsnowflakecomputing.com",
        "127.0.0.1",
    ):
        with pytest.raises(InvalidInput) as refused:
            validate({**example(technology, "userPassword"), "hostname": host})
        assert refused.value.field == "hostname"


def test_tls_is_checked_unless_chosen_otherwise() -> None:
    """The default is `verify-full`, and libpq's `prefer` is not among the choices (rule O4)."""
    for field in (field for each, way in WAYS for field in fields_of(each, way) if field.name == "tlsMode"):
        assert field.default == "verify-full"
        assert set(field.choices) <= {"verify-full", "require", "disable"}


@pytest.mark.parametrize("technology", TECHNOLOGIES)
def test_kept_technologies_are_not_reached(technology: Technology) -> None:
    """A technology of the third tier refuses test and crawl by one sentence."""
    if technology.tier is not Tier.KEPT:
        check_can_reach(technology)
        return
    with pytest.raises(InvalidInput, match=f"Keyturn keeps connections to {technology.name} and does not"):
        check_can_reach(technology)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(WAYS), st.data())
def test_whatever_is_given_is_accepted_or_refused_at_a_field(way: tuple[Technology, str], data: Any) -> None:
    """No value raises anything else than `InvalidInput`, and an accepted one is stable."""
    good = example(*way)
    name = data.draw(st.sampled_from([*good]))
    fields: list[str] = []
    values: dict[str, Any] = {}
    try:
        values = validate({**good, name: data.draw(JSON)})
    except InvalidInput as refused:
        fields.append(refused.field.partition(".")[0])
    assert set(fields) <= set(good)
    assert not values or validate(values) == values
