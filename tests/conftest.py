"""What all tests share: where the real data kit lies, and quiet libraries."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest  # noqa: E402

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_KIT = REPOSITORY.parent / "shared" / "data"
# One file of the kit that every copy of it has.
KIT_MARK = pathlib.Path("flickr8k", "Flicker8k_Dataset")


@pytest.fixture(scope="session")
def kit() -> pathlib.Path:
    """The folder of small real data in the official layouts (read only).

    It is `$IMGTEXT_TF_KIT`, or `../shared/data` beside the repository. A test that needs it is
    skipped where it is missing, but fails under `CI=true`: there it must not pass unseen.
    """
    folder = pathlib.Path(os.environ.get("IMGTEXT_TF_KIT") or DEFAULT_KIT)
    if (folder / KIT_MARK).is_dir():
        return folder
    reason = f"no data kit at {folder} (it has no {KIT_MARK}); set IMGTEXT_TF_KIT to its folder"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)
