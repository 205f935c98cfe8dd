"""Regret against labels, interventions and context switches of every gate."""
