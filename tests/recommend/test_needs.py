"""Every task type says what it asks, in a file that follows the schema."""

import pytest

from autopeft import resources
from autopeft.errors import FileFormatError
from autopeft.recommend.needs import task_needs
from autopeft.values.names import TASKS


def test_there_is_one_file_per_task_type():
    """A task type without a file, or a file without a task type, is a mistake."""
    found = sorted(path.stem for path in (resources.profiles() / "tasks").glob("*.yaml"))
    assert found == sorted(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_file_describes_its_own_task(task):
    """A file carries the task it is named after, its reasons and its source."""
    needs = task_needs(task)
    assert needs.task == task
    assert needs.because
    assert needs.source
    assert 0 < needs.low_data_rows < needs.typical_rows


def test_a_file_of_another_task_is_refused(tmp_path, monkeypatch):
    """A renamed file does not pass for another task's."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    text = (resources.profiles() / "tasks" / "generation.yaml").read_text()
    (folder / "classification.yaml").write_text(text)
    monkeypatch.setattr("autopeft.resources.profiles", lambda: tmp_path)
    with pytest.raises(FileFormatError, match="describes 'generation'"):
        task_needs("classification")


def test_an_unknown_key_is_refused(tmp_path, monkeypatch):
    """A misspelt key is an error with the close match, not a silent default."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    text = (resources.profiles() / "tasks" / "generation.yaml").read_text()
    (folder / "generation.yaml").write_text(text.replace("complexity", "complexty"))
    monkeypatch.setattr("autopeft.resources.profiles", lambda: tmp_path)
    with pytest.raises(FileFormatError, match="Did you mean 'complexity'"):
        task_needs("generation")
