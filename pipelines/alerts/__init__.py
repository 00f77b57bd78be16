"""Rules and the alerts they raise: the language, the state machine, the grouping into messages."""
