"""Custom schemas, down to the words: which can be, and what they say to an object."""

from typing import Any

import pytest

from tests.conformance.kubernetes_peers import Document, Plane

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
GROUP = "suite.example.org"
ROOT = "spec.validation.openAPIV3Schema"
STRING = {"type": "string"}


def definition(kind: str, **spec: Any) -> Document:
    plural = f"{kind.lower()}s"
    root = {"type": "object", "properties": {"spec": spec}}
    version: Document = {"name": "v1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [{**version, "schema": {"openAPIV3Schema": root}}],
        },
    }


# Schemas that cannot be


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            [
                ".uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity "
                "becomes quadratic"
            ],
        ),
        ({"$ref": "#/x"}, [".$ref: Forbidden: $ref is not supported"]),
        (
            {"type": "object", "patternProperties": {"a": STRING}},
            [".patternProperties: Forbidden: patternProperties is not supported"],
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
            [
                ".additionalProperties: Forbidden: additionalProperties and properties are mutual "
                "exclusive"
            ],
        ),
        (
            {"properties": {"a": STRING}},
            [".type: Required value: must not be empty for specified object fields"],
        ),
        ({"type": "array"}, [".items: Required value: must be specified"]),
        (
            {"type": "array", "items": {"properties": {"a": STRING}}},
            [".items.type: Required value: must not be empty for specified array items"],
        ),
        (
            {"type": "strin"},
            [
                '.type: Unsupported value: "strin": supported values: "array", "boolean", "integer", '
                '"number", "object", "string"'
            ],
        ),
        (
            {"type": "object", "anyOf": [{"type": "object"}]},
            [".anyOf[0].type: Forbidden: must be empty to be structural"],
        ),
        (
            {"type": "object", "allOf": [{"properties": {"a": {"default": "x"}}}]},
            [".allOf[0].properties[a].default: Forbidden: must be undefined to be structural"],
        ),
        (
            {"type": "object", "not": {"nullable": True, "additionalProperties": STRING}},
            [
                ".not.additionalProperties: Forbidden: must be undefined to be structural",
                ".not.nullable: Forbidden: must be false to be structural",
            ],
        ),
        (
            {"type": "array", "items": {"type": "object"}, "x-kubernetes-list-type": "map"},
            [
                ".x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            ],
        ),
        (
            {"type": "string", "pattern": "^(?!x)"},
            [
                '.pattern: Invalid value: "^(?!x)": must be a valid regular expression, but isn\'t: '
                "error parsing regexp: invalid or unsupported Perl syntax: `(?!`"
            ],
        ),
        (
            {"type": "integer", "default": "x"},
            ['.default: Invalid value: "string":  in body must be of type integer: "string"'],
        ),
    ],
)
def test_a_schema_out_of_form_is_refused(plane: Plane, spec: Document, said: list[str]):
    answer = plane.post(DEFINITIONS, definition("Bad", **spec))

    # Upstream goes through its fields in no fixed order.
    wanted = sorted(f"{ROOT}.properties[spec]{one}" for one in said)
    causes = answer.doc["details"]["causes"]
    assert answer.code == 422
    assert sorted(f"{one['field']}: {one['message']}" for one in causes) == wanted


def test_an_unknown_word_in_a_schema_is_named_with_its_path(plane: Plane):
    odd = definition("Odd", type="object", properties={"a": {**STRING, "const": "x"}})

    answer = plane.post(DEFINITIONS, odd, fieldValidation="Strict")

    assert answer.code == 400
    assert answer.doc["message"].endswith(
        'strict decoding error: unknown field "spec.versions[0].schema.openAPIV3Schema.properties.spec'
        '.properties.a.const"'
    )


def test_a_format_that_nobody_knows_is_warned_of(plane: Plane):
    odd = definition("Odd", type="object", properties={"a": {**STRING, "format": "nonsense"}})

    answer = plane.post(DEFINITIONS, odd, dryRun="All")

    assert answer.code == 201
    assert answer.headers["Warning"] == '299 - "unrecognized format \\"nonsense\\""'


# Objects under a schema

EITHER = {"l": STRING, "r": STRING}
FIELDS: Document = {
    "half": {"type": "number", "multipleOf": 0.5},
    "three": {"type": "integer", "multipleOf": 3},
    "one": {"type": "string", "oneOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]},
    "any": {"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^x"}]},
    "all": {"type": "string", "allOf": [{"minLength": 3}, {"pattern": "^x"}]},
    "no": {"type": "string", "not": {"enum": ["bad"]}},
    "pick": {
        "type": "object",
        "properties": EITHER,
        "oneOf": [{"required": ["l"]}, {"required": ["r"]}],
    },
    "deep": {
        "type": "object",
        "properties": {"a": {"type": "array", "items": STRING}},
        "allOf": [{"properties": {"a": {"items": {"minLength": 2}}}}, {"required": ["a"]}],
    },
    "port": {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": "^[0-9]+%?$",
    },
    "more": {"type": "integer", "minimum": 3, "exclusiveMinimum": True},
    "some": {
        "type": "object",
        "additionalProperties": STRING,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "set": {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
    "map": {
        "type": "array",
        "items": {"type": "object", "required": ["k"], "properties": {"k": STRING}},
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    },
    "inside": {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    },
    **{
        name: {"type": "string", "format": name}
        for name in ("date-time", "date", "duration", "ipv4", "ipv6", "cidr", "uri", "uuid", "uuid4",
                     "mac", "byte", "bsonobjectid", "hexcolor", "password")
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def things(plane: Plane) -> str:
    """The path of objects with the fields above, once they are served."""
    plane.post(DEFINITIONS, definition("Thing", type="object", properties=FIELDS)).ok()
    name = f"things.{GROUP}"
    events = plane.events(DEFINITIONS, fieldSelector=f"metadata.name={name}", seconds=2)
    conditions = events[-1]["object"]["status"]["conditions"]
    assert ("Established", "True") in {(one["type"], one["status"]) for one in conditions}
    return f"/apis/{GROUP}/v1/namespaces/default/things"


def thing(**spec: Any) -> Document:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Thing",
        "metadata": {"name": "t"},
        "spec": spec,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("half", 1.5),
        ("one", "a"),
        ("any", "xa"),
        ("all", "xyz"),
        ("no", "good"),
        ("pick", {"l": "a"}),
        ("deep", {"a": ["xx"]}),
        ("port", 80),
        ("port", "80%"),
        ("more", 4),
        ("set", ["a", "b"]),
        ("inside", {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}}),
        ("date-time", "2020-01-01t00:00:00.5+01:00"),
        ("date", "2020-02-29"),
        ("duration", "1h 30m"),
        ("duration", "2 days"),
        ("ipv4", "01.2.3.4"),
        ("ipv6", "::ffff:1.2.3.4"),
        ("cidr", "10.0.0.1/8"),
        ("uri", "mailto:x@y"),
        ("uri", "/path"),
        ("uuid", "123e4567e89b12d3a456426614174000"),
        ("mac", "0000.5e00.5301"),
        ("byte", "YQ=="),
        ("hexcolor", "fff"),
        ("password", ""),
    ],
)
def test_a_value_that_fits_is_taken(plane: Plane, things: str, field: str, value: Any):
    answer = plane.post(things, thing(**{field: value}), dryRun="All")

    assert answer.ok()["spec"] == {field: value}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("half", 0.7, "spec.half: Invalid value: 0.7: spec.half in body should be a multiple of 0.5"),
        ("three", 4, "spec.three: Invalid value: 4: spec.three in body should be a multiple of 3"),
        (
            "one",
            "b",
            '<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 '
            "valid alternatives",
        ),
        (
            "one",
            "d",
            '[<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none '
            'valid, spec.one: Unsupported value: "d": supported values: "a", "b"]',
        ),
        (
            "any",
            "ab",
            '[<nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf), spec.any: '
            'Invalid value: "ab": spec.any in body should be at least 3 chars long]',
        ),
        (
            "all",
            "y",
            '[spec.all: Invalid value: "y": spec.all in body should be at least 3 chars long, spec.all: '
            'Invalid value: "y": spec.all in body should match \'^x\', <nil>: Invalid value: "": "spec.all" '
            "must validate all the schemas (allOf). None validated]",
        ),
        ("no", "bad", '<nil>: Invalid value: "": "spec.no" must not validate the schema (not)'),
        (
            "pick",
            {},
            '[<nil>: Invalid value: "": "spec.pick" must validate one and only one schema (oneOf). Found none '
            "valid, spec.pick.l: Required value]",
        ),
        (
            "deep",
            {"a": ["x", "yy"]},
            '[spec.deep.a[0]: Invalid value: "x": spec.deep.a[0] in body should be at least 2 chars long, '
            '<nil>: Invalid value: "": "spec.deep" must validate all the schemas (allOf)]',
        ),
        (
            "port",
            True,
            '[spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean", '
            '<nil>: Invalid value: "": "spec.port" must validate at least one schema (anyOf), spec.port: '
            'Invalid value: "boolean": spec.port in body must be of type integer: "boolean"]',
        ),
        ("port", "8 ", "spec.port: Invalid value: \"8 \": spec.port in body should match '^[0-9]+%?$'"),
        ("port", "8\n", "spec.port: Invalid value: \"8\\n\": spec.port in body should match '^[0-9]+%?$'"),
        ("more", 3, "spec.more: Invalid value: 3: spec.more in body should be greater than 3"),
        ("some", {}, "spec.some: Invalid value: 0: spec.some in body should have at least 1 properties"),
        (
            "some",
            {"a": "", "b": "", "c": ""},
            "spec.some: Too many: 3: must have at most 2 items",
        ),
        ("set", ["a", "b", "a"], 'spec.set[2]: Duplicate value: "a"'),
        ("map", [{"k": "a"}, {"k": "a"}], 'spec.map[1]: Duplicate value: {"k":"a"}'),
        (
            "inside",
            {},
            "[spec.inside.apiVersion: Required value, spec.inside.kind: Required value]",
        ),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused(
    plane: Plane, things: str, field: str, value: Any, said: str
):
    answer = plane.post(things, thing(**{field: value}), dryRun="All")

    assert answer.code == 422
    assert answer.doc["message"] == f'Thing.{GROUP} "t" is invalid: {said}'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date-time", "2020-01-01 00:00:00Z"),
        ("date-time", "2020-01-01T24:00:00Z"),
        ("date", "2020-02-30"),
        ("date", "20200101"),
        ("duration", "1hx"),
        ("duration", "1 fortnight"),
        ("ipv4", "1.2.3"),
        ("ipv4", "::1"),
        ("ipv6", "fe80::1%eth0"),
        ("cidr", "::1/129"),
        ("uri", "http://a b"),
        ("uri", "http://a/%zz"),
        ("uuid", "{123e4567-e89b-12d3-a456-426614174000}"),
        ("uuid4", "123e4567-e89b-12d3-a456-426614174000"),
        ("mac", "00:00:5e:00:53"),
        ("byte", "YQ="),
        ("bsonobjectid", "507f1f77bcf86cd79943901"),
        ("hexcolor", "#ffff"),
    ],
)
def test_a_format_is_checked(plane: Plane, things: str, name: str, value: str):
    answer = plane.post(things, thing(**{name: value}), dryRun="All")

    (cause,) = answer.doc["details"]["causes"]
    assert cause["reason"] == "FieldValueTypeInvalid"
    assert cause["message"] == (
        f'Invalid value: "{value}": spec.{name} in body must be of type {name}: "{value}"'
    )
