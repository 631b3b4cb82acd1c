"""Cards: what people see of a model, made from the records of its run and of its evaluation."""
