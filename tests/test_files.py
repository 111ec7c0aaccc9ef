"""Files that are whole at any moment (`support.files`)."""

import errno

import pytest

from ctxlstm.support.files import written


def test_a_file_appears_whole_and_replaces_the_one_before(tmp_path):
    path = tmp_path / "new" / "table.csv"
    for text in ("one", "two"):
        with written(path) as part:
            part.write_text(text, encoding="utf-8")
            assert part.parent == path.parent, "a rename is atomic on one disk only"
    assert path.read_text(encoding="utf-8") == "two"
    assert [each.name for each in path.parent.iterdir()] == ["table.csv"]


def test_an_error_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("before", encoding="utf-8")
    with pytest.raises(KeyError), written(path) as part:  # noqa: PT012  the error is in the body
        part.write_text("half", encoding="utf-8")
        raise KeyError
    assert path.read_text(encoding="utf-8") == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["table.csv"]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with pytest.raises(OSError, match=r"the disk is full while writing .*table\.csv: free some space"):
        with written(tmp_path / "table.csv"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_written_aside_too(tmp_path):
    with written(tmp_path / "run") as part:
        part.mkdir()
        (part / "a").touch()
    assert (tmp_path / "run" / "a").is_file()
