"""`pip install keyturn[cli]`: help, a table, and a sentence where no server answers."""

import os
import subprocess
import sys
from pathlib import Path

from keyturn.cli.tables import print_table

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
print_table(["a", "b"], [["1", "two words"]])
