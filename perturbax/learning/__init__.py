"""How a rule becomes an estimate of the gradient; no rule, cell or task is named here."""
