"""The judge: who presents a credential, and whether it is good. Runs in any process and needs no database."""
