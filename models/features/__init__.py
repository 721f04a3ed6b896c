"""Networks whose features say how real photos look: none is a recogniser, so that no method attacks one."""
