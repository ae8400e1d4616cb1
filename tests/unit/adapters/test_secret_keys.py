"""The key of links is the one that is set, or one made once for this home, whoever comes first."""

from concurrent.futures import ThreadPoolExecutor

from pipeline.adapters import secret_keys
from pipeline.settings import settings


def test_the_first_process_makes_the_key_and_all_others_use_it(home):
    path = home / "var" / "secret.key"
    secret_keys._own_key.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(secret_keys._own_key.__wrapped__, [path] * 32))
    assert found == {path.read_bytes().strip()}
    assert (len(found.pop()), path.stat().st_mode & 0o777) == (64, 0o600)
    assert [file.name for file in path.parent.iterdir()] == ["secret.key"]
    assert secret_keys.secret_keys(settings()) == [path.read_bytes().strip()]


def test_the_key_that_is_set_wins_and_may_have_predecessors(home, monkeypatch):
    monkeypatch.setenv("PIPELINE_SECRET_KEY", f"{'n' * 32}, {'o' * 32}")
    settings.cache_clear()
    assert secret_keys.secret_keys(settings()) == [b"n" * 32, b"o" * 32]
    assert not (home / "var").exists()
