"""Who controls whom: owners of service accounts, and makers of links."""
