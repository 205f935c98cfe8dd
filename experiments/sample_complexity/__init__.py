"""Gap against demonstrations, horizon and states, each against its closed form."""
