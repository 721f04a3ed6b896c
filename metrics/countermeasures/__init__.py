"""What a platform or an attacker does to photos before they are recognised."""
