"""Measurements that belong to the project: what ``rlbench bench`` runs."""
