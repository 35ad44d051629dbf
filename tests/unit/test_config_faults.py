"""Every fault of a configuration is named at once: what, key, line, and what to do."""

from pathlib import Path

import pytest
from test_config import BASE, ROUTE, configured

from cegid_daemon.config import later, load
from cegid_daemon.errors import ConfigurationError


def faults(folder: Path, text: str) -> dict[str, str]:
    """Field -> fault, of a configuration that has some."""
    with pytest.raises(ConfigurationError) as caught:
        configured(folder, text)
    return {fault.where.field: str(fault) for fault in caught.value.faults}


def test_faults_in_different_tables_are_all_named_with_their_lines(tmp_path):
    text = """\
stat = "var"
[store.main]
stock_buffer = -1
[endpoint.inbox]
url = "file:inbox"
[route.a]
store = "mian"
source = { endpoint = "inbx", settle = 5 }
layout = "mine"
template = "no.j2"
target = { name = "{{ sorce.stem }}" }
[layout.mine]
kind = "delimited"
stock = "r.X +"
"""
    with pytest.raises(ConfigurationError, match="has 9 faults") as caught:
        configured(tmp_path, text)
    assert [(fault.where.line, fault.where.field) for fault in caught.value.faults] == [
        (1, "stat"),
        (3, "store.main.stock_buffer"),
        (7, "route.a.store"),
        (8, "route.a.source.endpoint"),
        (8, "route.a.source.settle"),
        (10, "route.a.template"),
        (11, "route.a.target.endpoint"),
        (11, "route.a.target.name"),
        (14, "layout.mine.stock"),
    ]
    assert all(fault.where.file == str(tmp_path / "cegid-daemon.toml") for fault in caught.value.faults)
    assert all(fault.remedy for fault in caught.value.faults)


def named(template: str) -> str:
    """A configuration whose files are named by this template."""
    return BASE + ROUTE.replace("target = {", f'target = {{ name = "{template}",')


CASES = {
    "unknown key near one": ('stat = "x"', "stat", "Did you mean 'state'?"),
    "temporary names that are not unique": (
        BASE + ROUTE.replace("target = {", 'target = { temporary = "{name}.part",'),
        "route.stock.target.temporary",
        "without {id} two uploads could have the same name",
    ),
    "temporary names in another place": (
        BASE + ROUTE.replace("target = {", 'target = { temporary = "../{id}",'),
        "route.stock.target.temporary",
        "Write one such as .{id}.part, up_{id}, {id}.tmp, tmp/{id}, none.",
    ),
    "unknown key near none": ("[store.main]\nzzz = 1", "store.main.zzz", "Known here: enabled, log_requests"),
    "unknown key deep inside": (
        BASE + ROUTE.replace('folder = "stock" }', 'setle = "1s" }', 1),
        "route.stock.source.setle",
        "Did you mean 'settle'?",
    ),
    "text for number": ('[store.main]\nstock_buffer = "2"', "store.main.stock_buffer", "a whole number without quotes"),
    "text for truth": ('[store.main]\nenabled = "yes"', "store.main.enabled", "must be true or false"),
    "number for text": ("state = 3", "state", "must be a text in quotes"),
    "value for table": ("store = 3", "store", "must be a table"),
    "value for named table": ("layout = 3", "layout", "must be a table"),
    "value for inner table": ("[layout]\nx = 3", "layout.x", "must be a table"),
    "no such choice": ('[layout.x]\nkind = "csv"', "layout.x.kind", "must be one of 'delimited', 'fixed'"),
    "missing key": ("[endpoint.x]", "endpoint.x.url", "'url' is missing"),
    "bad name": ('[store."a/b"]', "store.a/b", "a name has letters"),
    "no scheme": ('[endpoint.x]\nurl = "inbox"', "endpoint.x.url", "Write file:PATH"),
    "foreign host": ('[endpoint.x]\nurl = "file://host/x"', "endpoint.x.url", "names no folder of this machine"),
    "address without a host": ('[endpoint.x]\nurl = "ftp://"', "endpoint.x.url", "it names no host"),
    "address without a user": ('[endpoint.x]\nurl = "sftp://h/x"', "endpoint.x.url", "it names no user"),
    "address with a password": (
        '[endpoint.x]\nurl = "ftp://u:pw@h/x"',
        "endpoint.x.url",
        "a password does not belong into a url",
    ),
    "address with a query": ('[endpoint.x]\nurl = "ftp://u@h/x?y"', "endpoint.x.url", "written with %3F"),
    "address with a port beyond all": (
        '[endpoint.x]\nurl = "ftps://u@h:99999/x"',
        "endpoint.x.url",
        "its host and port cannot be read",
    ),
    "API with a broken host": (
        '[endpoint.x]\nurl = "https://[::1/x"\ntoken = { env = "HOME" }',
        "endpoint.x.url",
        "its host and port cannot be read",
    ),
    "no pace": ('[endpoint.x]\nurl = "ftp://u@h/x"\npace = "0/min"', "endpoint.x.pace", "is no pace"),
    "no method": (
        BASE + ROUTE.replace('endpoint = "outbox", folder', 'method = "stock update", endpoint = "outbox", folder'),
        "route.stock.target.method",
        "is no method of the API",
    ),
    "no authority": (
        '[endpoint.x]\nurl = "ftps://u@h/x"\nca = "cegid-daemon.toml"',
        "endpoint.x.ca",
        "is no certificate of an authority",
    ),
    "no duration": ('[defaults.retry]\nfirst = "5 sec"', "defaults.retry.first", "is no duration"),
    "endless duration": ('[defaults.retry]\nfirst = "99999999999d"', "defaults.retry.first", "longer than any clock"),
    "no days": ("[defaults.log]\nentry_days = -1", "defaults.log.entry_days", "is no number of days"),
    "no size": (
        BASE + ROUTE.replace('folder = "stock" }', 'max_size = "5 M" }', 1),
        "route.stock.source.max_size",
        "is no size",
    ),
    "folder out of its endpoint": (
        BASE + ROUTE.replace('folder = "stock" }', 'folder = "a/../../b" }', 1),
        "route.stock.source.folder",
        "no '..'",
    ),
    "mask with folder": (
        BASE + ROUTE.replace('folder = "stock" }', 'match = "a/*.csv" }', 1),
        "route.stock.source.match",
        "Put the folder into",
    ),
    "no such layout": (
        BASE + ROUTE.replace("y2-stock-csv", "y2-stok-csv"),
        "route.stock.layout",
        "Did you mean 'y2-stock-csv'?",
    ),
    "no such base": ('[layout.x]\nextends = "y2"\nkind = "delimited"', "layout.x.extends", "no shipped layout"),
    "template out of its folder": (
        BASE + ROUTE.replace("aurora/inventory-import.xml.j2", "../x.j2"),
        "route.stock.template",
        "there is no template",
    ),
    "broken name template": (
        BASE
        + ROUTE.replace('folder = "stock" }\n', 'folder = "s" }\n', 1).replace(
            'target = { endpoint = "outbox", folder = "stock" }', 'target = { endpoint = "outbox", name = "{{ x" }'
        ),
        "route.stock.target.name",
        "unexpected end of template",
    ),
    "name of what a source has not": (
        BASE
        + ROUTE.replace(
            'target = { endpoint = "outbox", folder',
            'target = { name = "{{ source.foo }}", endpoint = "outbox", folder',
        ),
        "route.stock.target.name",
        "knows no 'source.foo'",
    ),
    "name of what a message has not": (
        BASE
        + ROUTE.replace(
            'target = { endpoint = "outbox", folder',
            'target = { name = "{{ message[\'x\'] }}", endpoint = "outbox", folder',
        ),
        "route.stock.target.name",
        "message has: id, name, received_at",
    ),
    "name with a filter that is not there": (
        named("{% if part > 1 %}{{ part|fitt }}{% endif %}"),
        "route.stock.target.name",
        "there is no filter 'fitt'",
    ),
    "parts without number": (
        BASE + ROUTE + "output = { batch = 5 }",
        "route.stock.target.name",
        "output.batch needs a name with `part`",
    ),
    "no such check": (BASE + ROUTE + 'output = { check = "html" }', "route.stock.output.check", "there is no check"),
    "no such schema": (
        BASE + ROUTE + 'output = { check = "xsd:none.xsd" }',
        "route.stock.output.check",
        "schema 'none.xsd' cannot be read",
    ),
    "no such encoding": (
        BASE + ROUTE + 'output = { encoding = "cp12520" }',
        "route.stock.output.encoding",
        "'cp12520' is no encoding",
    ),
    "mark without encoding for it": (
        BASE + ROUTE + 'output = { encoding = "cp1252", bom = true }',
        "route.stock.output.bom",
        "no byte order mark",
    ),
    "broken unique": (
        BASE + ROUTE.replace('folder = "stock" }', 'unique = "r." }', 1),
        "route.stock.source.unique",
        "cannot be read",
    ),
    "unknown field of a fixed layout": (
        '[layout.x]\nkind = "fixed"\nfields = [{ name = "A", at = 1, width = 2 }]\nsku = "r.B"',
        "layout.x.sku",
        "B",
    ),
    "broken skip": ('[layout.x]\nkind = "delimited"\nskip = ["r.A", "r.B =="]', "layout.x.skip[2]", "cannot be read"),
    "key of another kind": ('[layout.x]\nkind = "delimited"\nroot = "A"', "layout.x.root", "it is for xml"),
    "kind without its key": ('[layout.x]\nkind = "xml"', "layout.x", "needs 'record'"),
    "sum by something else": (
        '[layout.x]\nkind = "delimited"\nsku = "r.A"\nsum_by = "product"',
        "layout.x.sum_by",
        "by SKU only",
    ),
    "mark of an encoding that has one of no kind we write": (
        BASE + ROUTE + 'output = { encoding = "utf-32", bom = true }',
        "route.stock.output.bom",
        "utf-32 has none",
    ),
    "schema that is none": (
        BASE + ROUTE + 'output = { check = "xsd:cegid-daemon.toml" }',
        "route.stock.output.check",
        "cannot be used",
    ),
    "column named twice": (
        '[layout.x]\nkind = "delimited"\ncolumns = ["A", "B", "A"]',
        "layout.x.columns",
        "'A' is named 2 times",
    ),
    "field named twice": (
        '[layout.x]\nkind = "fixed"\nfields = [{ name = "A", at = 1, width = 2 }, { name = "A", at = 3, width = 2 }]',
        "layout.x.fields",
        "'A' is named 2 times",
    ),
    "column of a record type named twice": (
        '[layout.x]\nkind = "records"\n[layout.x.types]\nCCM = ["A", "A"]',
        "layout.x.types.CCM",
        "'A' is named 2 times",
    ),
    "no title row and no columns": (
        '[layout.x]\nkind = "delimited"\nheader = false',
        "layout.x.header",
        "the columns have no names",
    ),
    "head that is no record type": (
        '[layout.x]\nkind = "records"\nhead = "X"\n[layout.x.types]\nCCM = ["A"]',
        "layout.x.head",
        "'X' is none of the record types",
    ),
    "proof that proves nothing": ('[layout.x]\nkind = "delimited"\nproof = {}', "layout.x.proof", "proves nothing"),
    "count that no line declares": (
        '[layout.x]\nkind = "delimited"\nproof = { count = "r.text" }',
        "layout.x.proof.count",
        "there is no line that declares it",
    ),
    "trailer of XML": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\nproof = { trailer = "</A>" }',
        "layout.x.proof.trailer",
        "means nothing to kind 'xml'",
    ),
    "sum over rows that hold stocks": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\nsku = "r.B"\nsum_by = "sku"\n'
        '[[layout.x.stocks]]\neach = "C"\nstock = "r.D"',
        "layout.x.sum_by",
        "does not go with stocks inside records",
    ),
    "two stocks of the record itself": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\n'
        '[[layout.x.stocks]]\nstock = "r.B"\n[[layout.x.stocks]]\nstock = "r.C"',
        "layout.x.stocks[2]",
        "the record itself has a stock already",
    ),
    "two stocks of the same elements": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\n[[layout.x.stocks]]\neach = "V"\nstock = "r.B"\n'
        '[[layout.x.stocks]]\neach = "V"\nstock = "r.C"',
        "layout.x.stocks[2]",
        "each = 'V' has a stock already",
    ),
    "a stock said twice": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\nstock = "r.B"\n[[layout.x.stocks]]\nstock = "r.C"',
        "layout.x.stocks[1].stock",
        "'stock' stands twice",
    ),
    "stocks of no record type": (
        '[layout.x]\nkind = "records"\n[layout.x.types]\nCCM = ["A"]\n[[layout.x.stocks]]\neach = "CCL"\nstock = "r.A"',
        "layout.x.stocks[1].each",
        "'CCL' is none of the record types",
    ),
    "unknown column of a record type": (
        '[layout.x]\nkind = "records"\nsku = "r.B"\n[layout.x.types]\nCCM = ["A"]',
        "layout.x.sku",
        "there is no column B",
    ),
    "unknown column of inner rows": (
        '[layout.x]\nkind = "records"\n[layout.x.types]\nCCM = ["A"]\nCCL = ["B"]\n'
        '[[layout.x.stocks]]\neach = "CCL"\nstock = "r.A"',
        "layout.x.stocks[1].stock",
        "there is no column A",
    ),
    "unknown column behind a title row that is passed over": (
        '[layout.x]\nkind = "delimited"\nheader = true\ncolumns = ["A"]\nsku = "r.B"',
        "layout.x.sku",
        "there is no column B",
    ),
    "parent of a record that has none": (
        '[layout.x]\nkind = "xml"\nrecord = "A"\nsku = "r.parent.B"',
        "layout.x.sku",
        "the record stands inside no other",
    ),
    "record by a condition": (
        '[layout.x]\nkind = "xml"\nrecord = "P[@id]"',
        "layout.x.record",
        "is no path of elements",
    ),
    "record by a prefix": ('[layout.x]\nkind = "xml"\nrecord = "a:P"', "layout.x.record", "no prefixes"),
    "record of no name": ('[layout.x]\nkind = "xml"\nrecord = "/"', "layout.x.record", "is no path of elements"),
    "record of a broken name": ('[layout.x]\nkind = "xml"\nrecord = "{uri"', "layout.x.record", "is no path"),
    "root by a path": (
        '[layout.x]\nkind = "xml"\nrecord = "P"\nroot = "F/G"',
        "layout.x.root",
        "is no name of an element",
    ),
    "stocks at any depth": (
        '[layout.x]\nkind = "xml"\nrecord = "P"\n[[layout.x.stocks]]\neach = "//V"\nstock = "r.S"',
        "layout.x.stocks[1].each",
        "is no path of elements",
    ),
    "quote of two characters": (
        '[layout.x]\nkind = "delimited"\nquote = "<>"',
        "layout.x.quote",
        "must be at most 1 long",
    ),
    "quote and delimiter alike": (
        '[layout.x]\nkind = "delimited"\nquote = ";"',
        "layout.x.quote",
        "delimiter and quote are the same",
    ),
    "long delimiter beside a quote": (
        '[layout.x]\nkind = "records"\nquote = "|"\ndelimiter = ";;"\n[layout.x.types]\nA = ["B"]',
        "layout.x.delimiter",
        "too long beside a quote",
    ),
    "delimiter that ends lines": (
        '[layout.x]\nkind = "delimited"\ndelimiter = "\\n"',
        "layout.x.delimiter",
        "is a line end",
    ),
    "archive that is not used": (
        BASE + ROUTE.replace('folder = "stock" }', 'archive = "x", after = "delete" }', 1),
        "route.stock.source.archive",
        "archives nothing",
    ),
    "leave_changed where nothing is left": (
        BASE + ROUTE.replace('folder = "stock" }', 'leave_changed = "any" }', 1),
        "route.stock.source.leave_changed",
        "leaves nothing",
    ),
    "target without template": (
        BASE + ROUTE.replace("template =", "title ="),
        "route.stock",
        "needs a template",
    ),
    "route that makes nothing": (
        BASE + '[route.x]\nstore = "main"\nlayout = "y2-stock-csv"\nsource = { endpoint = "inbox" }',
        "route.x",
        "the route makes nothing",
    ),
    "buffers and a template": (
        BASE + ROUTE.replace("y2-stock-csv", "aurora-product-fields"),
        "route.stock.template",
        "such a route makes no file",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fault_names_key_and_remedy(tmp_path, case):
    text, field, said = CASES[case]
    found = faults(tmp_path, text)
    assert field in found
    assert said in found[field]


def test_a_fault_in_one_route_hides_no_rule_broken_by_another(tmp_path):
    found = faults(tmp_path, BASE + ROUTE + "output = { batch = 5 }\n[route.b]\ntitle = 5\n")
    assert {"route.b.title", "route.b.source", "route.stock.target.name"} <= set(found)


def test_a_broken_template_is_named_with_its_own_line(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.j2").write_text("one\n{% for %}\n")
    found = faults(tmp_path, BASE + ROUTE.replace("aurora/inventory-import.xml.j2", "own.j2"))
    assert "file 'own.j2', line 2" in found["route.stock.template"]


@pytest.mark.parametrize(("asked", "known"), [("CLL", False), ("CCM", False), ("CCL", True)])
def test_a_record_type_that_a_template_asks_for_and_the_layout_lacks_is_a_fault(tmp_path, asked, known):
    (tmp_path / "templates").mkdir()
    text = f"{{% for r in records %}}\n{{% for l in r.each('{asked}') %}}{{{{ l.B }}}}{{% endfor %}}{{% endfor %}}"
    (tmp_path / "templates" / "own.j2").write_text(text)
    layout = '[layout.x]\nkind = "records"\n[layout.x.types]\nCCM = ["A"]\nCCL = ["B"]\n'
    route = ROUTE.replace("aurora/inventory-import.xml.j2", "own.j2").replace("y2-stock-csv", "x")
    if known:
        assert configured(tmp_path, BASE + route + layout)
        return
    found = faults(tmp_path, BASE + route + layout)["route.stock.template"]
    assert f"each('{asked}')" in found
    assert "file 'own.j2', line 2" in found
    assert "CCL" in found


def test_a_template_that_is_not_utf_8_is_a_fault(tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.j2").write_bytes(b"\xe9")
    found = faults(tmp_path, BASE + ROUTE.replace("aurora/inventory-import.xml.j2", "own.j2"))
    assert "not UTF-8" in found["route.stock.template"]


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"a = 1\nb = \n", 2, "not TOML"),
        (b"a = 1\nb = 'x", 2, "not TOML"),
        (b"a = 1\na = 2\n", 2, "not TOML"),
        (b"a = 1\n# \xe9\n", 2, "not UTF-8"),
    ],
)
def test_a_file_that_is_no_toml_has_one_fault_with_its_line(tmp_path, content, line, said):
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        load(path)
    (fault,) = caught.value.faults
    assert (fault.where.line, fault.where.file) == (line, str(path))


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigurationError, match="cegid-daemon init") as caught:
        load(tmp_path / "none.toml")
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize("pattern", later.KEYS)
def test_a_key_of_later_work_is_refused_as_not_yet_supported(tmp_path, pattern):
    keys = [{"*": "x"}.get(part, part) for part in pattern.split(".")]
    text = f"{'.'.join(keys)} = {{ a = 1 }}"
    found = faults(tmp_path, text)
    assert "not yet supported by this version" in found[".".join(keys)]


@pytest.mark.parametrize("scheme", ["ftp", "ftps", "ftps+implicit", "sftp"])
def test_a_remote_endpoint_is_taken_and_keys_that_mean_nothing_to_it_are_not(tmp_path, scheme):
    text = f'[endpoint.x]\nurl = "{scheme}://cegid@host/x"\nencoding = "cp1252"\ntimeout = "5s"\n'
    assert configured(tmp_path, text).endpoints["x"].scheme == scheme
    assert "means nothing" in faults(tmp_path, text + 'token = { env = "HOME" }\n')["endpoint.x.token"]


def test_a_console_that_is_switched_off_is_no_fault(tmp_path):
    assert configured(tmp_path, BASE + ROUTE + '[console]\nlisten = ""').console.listen == ""


def test_a_fault_hides_no_other_of_the_same_table(tmp_path):
    found = faults(
        tmp_path,
        BASE
        + """
[route.stock]
stoer = "main"
store = "main"
source = { endpoint = "inbox", folder = "stock", unique = "r." }
layout = "mine"
template = "no.xml.j2"
target = { endpoint = "outbox", name = "{{ x" }
output = { check = "xsd:no.xsd", batch = -1 }
[layout.mine]
kind = "delimited"
decmal = ","
encoding = "klingon"
skip = ["r.A ==", "b.C"]
stock = "r.A ** 2"
""",
    )
    assert set(found) == {
        "route.stock.stoer",
        "route.stock.source.unique",
        "route.stock.template",
        "route.stock.target.name",
        "route.stock.output.check",
        "route.stock.output.batch",
        "layout.mine.decmal",
        "layout.mine.encoding",
        "layout.mine.skip[1]",
        "layout.mine.skip[2]",
        "layout.mine.stock",
    }


def test_an_unknown_key_hides_no_broken_rule(tmp_path):
    text = (
        BASE + ROUTE + 'output = { batch = 5, chek = "xml" }\n[layout.x]\nkind = "xml"\n[[layout.x.stocks]]\nstok = 1\n'
    )
    text += 'stock = "r.A"\n'
    assert set(faults(tmp_path, text)) == {
        "route.stock.output.chek", "route.stock.target.name", "layout.x.stocks[1].stok", "layout.x",
    }  # fmt: skip


def test_a_unique_key_may_read_what_is_computed_for_a_record(tmp_path):
    route = ROUTE.replace('folder = "stock" }', 'unique = "r.sku" }', 1).replace("y2-stock-csv", "y2-stock-asc")
    assert configured(tmp_path, BASE + route).recipes["stock"].unique == "r.sku"


@pytest.mark.parametrize(
    "layout",
    [
        'kind = "fixed"\nfields = [{ name = "A", at = 1, width = 3 }]\n'
        'proof = { trailer = "END", count = "r.text[3:]" }',
        'kind = "delimited"\ncolumns = ["A"]\nproof = { trailer = "END", count = "r[\'2\']" }',
        'kind = "records"\nlead = 1\nproof = { count = "r.text" }\n[layout.x.types]\nCCM = ["A"]',
    ],
)
def test_a_declared_count_reads_its_line_and_no_column(tmp_path, layout):
    assert configured(tmp_path, f"[layout.x]\n{layout}\n").layouts["x"].proof.count


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_schema_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="a"/></xs:schema>'
    declared = f'<?xml version="1.0" encoding="{encoding}"?>{schema}'
    (tmp_path / "a.xsd").write_bytes(declared.encode(encoding.replace("utf-8", "utf-8-sig")))
    output = configured(tmp_path, BASE + ROUTE + 'output = { check = "xsd:a.xsd" }').recipes["stock"].output
    assert output.schema == declared


@pytest.mark.parametrize(
    "url", ["ftp://u:geheim@h/x", "ftp://u:geheim/@h/x", "https://u:geheim@h/1", "ftp://u:geheim@[h/x"]
)
def test_a_secret_in_an_address_is_not_repeated(tmp_path, url):
    found = faults(tmp_path, f'[endpoint.x]\nurl = "{url}"')
    assert "endpoint.x.url" in found
    assert "geheim" not in "".join(found.values())


@pytest.mark.parametrize("record", ["P", "F/P", "/F/P", "{http://a/b}P", "{*}F/{u}P", "Éx-1.b_c"])
def test_a_record_is_named_or_reached_by_a_path(tmp_path, record):
    config = configured(tmp_path, f'[layout.x]\nkind = "xml"\nrecord = "{record}"\n')
    assert config.layouts["x"].record == record
