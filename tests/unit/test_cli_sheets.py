"""CSV files of operators: read as spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cegid_daemon.cli.sheets import Sheet, export
from cegid_daemon.errors import BadInput

COLUMNS = ("store", "level", "key", "value")


def sheet(folder: Path, content: bytes) -> Sheet:
    path = folder / "buffers.csv"
    path.write_bytes(content)
    return Sheet(path, COLUMNS)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_rows_come_out_alike_whatever_wrote_the_file(
    tmp_path: Path, separator: str, line_end: str, encoding: str
) -> None:
    lines = ["store,level,key,value", "main,variation,É1,3", "main,store,,2", ""]
    content = line_end.join(lines).replace(",", separator).encode(encoding)
    assert list(sheet(tmp_path, content).rows()) == [(2, "main", "variation", "É1", "3"), (3, "main", "store", "", "2")]


def test_columns_may_stand_in_any_order_and_others_are_passed_over(tmp_path: Path) -> None:
    content = b"Value,comment,KEY,store, level \n3,why,A,main,product\n"
    assert list(sheet(tmp_path, content).rows()) == [(2, "main", "product", "A", "3")]


def test_a_missing_column_is_named_with_what_the_file_must_begin_with(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the title row lacks level, key") as caught:
        list(sheet(tmp_path, b"store,value\nmain,3\n").rows())
    assert "store,level,key,value" in caught.value.remedy


def test_a_row_with_another_number_of_columns_is_reported_and_the_others_are_taken(tmp_path: Path) -> None:
    one = sheet(tmp_path, b"store,level,key,value\nmain,product,A\nmain,product,B,2\n\nmain,product,C,1,9\n")
    assert list(one.rows()) == [(3, "main", "product", "B", "2")]
    assert one.ragged == [2, 5]


def test_an_empty_file_lacks_its_title_row(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="lacks store, level, key, value"):
        list(sheet(tmp_path, b"").rows())


def test_what_is_exported_is_read_again(tmp_path: Path) -> None:
    rows = [("main", "variation", 'a"b,c', "3"), ("main", "store", "", "2.5")]
    export(tmp_path / "out.csv", COLUMNS, rows)
    assert [row[1:] for row in Sheet(tmp_path / "out.csv", COLUMNS).rows()] == rows
    assert list(tmp_path.iterdir()) == [tmp_path / "out.csv"]
