"""Management and tenant network: routes, MTUs, names, the broker's login, and who must not reach whom."""

import ipaddress

import pytest

TOO_LONG = 2.0  # seconds for a name that nobody has: a database looks names up while a client waits


def wrong_mtus(network):
    """Addresses whose interface has another MTU than Neutron gives their network."""
    wanted = {ipaddress.ip_network(cidr): mtu for cidr, mtu in network.wanted_mtu.items() if mtu}
    return [f"{address}: {port.mtu} instead of {mtu}" for address, port in network.ports.items()
            for cidr, mtu in wanted.items() if ipaddress.ip_address(address) in cidr and port.mtu != mtu]  # fmt: skip


def refused(network):
    """Brokers that do not take the agent's login."""
    assert network.logins, "the agent's configuration names no broker"
    if not all(login.asked for login in network.logins):
        pytest.skip("the agent's interpreter has no AMQP library")
    return [f"{login.shown}: {login.said}" for login in network.logins if login.said]


def test_brokers_take_the_agents_login(network):
    """From inside the guest every broker takes the login that the agent's own transport_url names."""
    assert refused(network) == []


def test_login_goes_over_the_management_port(network, server):
    """The guest's routes lead to each broker by the management port, and the login really went out from there."""
    assert {login.source for login in network.logins} == {server.management}
    assert {login.local for login in network.logins if login.asked} <= {server.management}


def test_guest_has_one_default_route(network):
    """The guest has exactly one default route: with two, broker and registry come and go."""
    assert len(network.defaults) == 1, network.defaults


def test_ports_have_their_networks_mtu(network):
    """Each interface has the MTU that Neutron gives to its network."""
    assert wrong_mtus(network) == []


def test_full_packets_reach_the_brokers(network):
    """A packet as large as the port's MTU, which nobody may take apart, reaches each broker and comes back."""
    silent = [login.shown for login in network.logins if login.small != "yes"]
    if silent:
        pytest.skip(f"{', '.join(silent)} answers no ping, so that a lost packet would tell nothing")
    assert [f"{login.shown}, {login.mtu} bytes: {login.full}" for login in network.logins if login.full != "yes"] == []


def test_name_servers_answer(network):
    """Each name server of the guest answers in time, or it has none."""
    assert [f"{one.address}: {one.said or one.seconds}" for one in network.resolvers
            if one.said or one.seconds > TOO_LONG] == []  # fmt: skip


def test_an_absent_name_is_told_soon(network):
    """The lookup of a name that nobody has comes back at once: whoever waits for it waits with every connection."""
    assert network.absent <= TOO_LONG, f"{network.absent} s {network.absent_said}"


def test_trove_guest_takes_the_brokers_login(instance_network):
    """In the guest that Trove booted, too, every broker takes the agent's login, by the management port."""
    assert refused(instance_network) == []
    assert {login.source for login in instance_network.logins} == {
        login.local for login in instance_network.logins if login.asked
    }


def test_trove_guest_has_one_default_route(instance_network):
    """The guest that Trove booted has exactly one default route."""
    assert len(instance_network.defaults) == 1, instance_network.defaults


def test_trove_guest_has_its_networks_mtu(instance_network):
    """Each of its interfaces has the MTU that Neutron gives to its network."""
    assert wrong_mtus(instance_network) == []


def test_agent_answers_trove(reach):
    """Trove's rpc_ping goes to the agent and back."""
    assert reach.ping == ""
    assert reach.consumers > 0


def test_tenant_sees_no_management_address(reach):
    """Neither Nova nor Neutron shows the tenant the management address or the management network."""
    assert reach.management not in reach.tenant_sees
    assert reach.management_network not in reach.tenant_networks


def test_database_is_closed_to_the_management_network(reach):
    """The database's port takes no connection on the management address."""
    if reach.no_way:
        pytest.skip(reach.no_way)
    assert not reach.by_management.reached


def test_database_is_open_to_the_tenant_network(reach):
    """From a place on the tenant network alone the database's port takes a connection."""
    if reach.no_vantage:
        pytest.skip(reach.no_vantage)
    assert reach.tries["database"].reached, reach.tries["database"].said


def test_management_network_is_out_of_the_tenants_reach(reach):
    """From there neither the guest's management address nor a broker can be reached."""
    if reach.no_vantage:
        pytest.skip(reach.no_vantage)
    assert [name for name, one in reach.tries.items() if name != "database" and one.reached] == []
