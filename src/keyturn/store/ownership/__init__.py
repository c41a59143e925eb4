"""Control over accounts: owners of service accounts, and makers of links."""
