"""The PIM as the host sees it: what it can take, weights and addresses, driver and backends."""
