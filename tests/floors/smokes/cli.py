"""`pip install keyturn[cli]`: help, a table, a sentence where no server answers, and what the wheel installs
for `man` and the shells."""

import os
import subprocess
import sys
from pathlib import Path

from keyturn.cli.tables import table_lines

COMMAND = Path(sys.executable).with_name("keyturn")


def keyturn(*arguments: str, code: int = 0, **settings: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, check=False, env=os.environ | settings
    )
    assert done.returncode == code, (arguments, done)
    return done.stdout + done.stderr


assert "whoami" in keyturn("--help")
for group in ("api", "completion", "configure", "key", "login", "logout", "thumbprint", "token", "whoami"):
    assert keyturn(group, "--help").startswith("Usage:")
assert "_KEYTURN_COMPLETE" in keyturn("completion", "bash")
assert "keyturn[server]" in keyturn("serve", code=1)
assert "Nobody answers" in keyturn("whoami", code=69, KEYTURN_URL="http://127.0.0.1:9", KEYTURN_KEY="kt_key")
assert table_lines(["A", "B"], [["1", "two words"]], [False, True], 10) == ["A  B", "1  two wo…"]
SHARE = Path(sys.prefix) / "share"
for page in ("keyturn", "keyturn-key-create", "keyturn-admin-user-list", "keyturn-serve"):
    assert (
        (SHARE / "man" / "man1" / f"{page}.1")
        .read_text()
        .startswith(f".TH {page.upper()}".replace("-", "\\-"))
    )
for shell, place in {
    "bash": "bash-completion/completions/keyturn",
    "zsh": "zsh/site-functions/_keyturn",
    "fish": "fish/vendor_completions.d/keyturn.fish",
}.items():
    assert (SHARE / place).read_text() == keyturn("completion", shell).removesuffix("\n"), shell
