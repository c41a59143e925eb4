"""`pip install keyturn[mariadb]`: the adapter of MariaDB and MySQL finds its driver."""

from keyturn.adapters.adapter import open_adapter
from keyturn.adapters.technologies import BY_NAME

assert open_adapter(BY_NAME["MariaDB"]).begin_tls
assert open_adapter(BY_NAME["MySQL"]).begin_tls
