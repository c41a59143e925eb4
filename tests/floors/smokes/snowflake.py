"""`pip install keyturn[snowflake]`: the adapter of Snowflake finds its driver."""

from keyturn.adapters.adapter import open_adapter
from keyturn.adapters.technologies import BY_NAME

assert open_adapter(BY_NAME["Snowflake"]).begin_tls
