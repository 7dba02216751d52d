# SPDX-License-Identifier: Apache-2.0
"""Every route about who one is, who others are, and what they may. Served by `app`."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from leitstand.api.identity import (
    acts,
    cani,
    invitations,
    login,
    oidc,
    roles,
    secrets,
    self,
    signin,
    tokens,
    users,
)

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    self.read_self,
    cani.can_i,
    signin.signin_methods,
    signin.sign_in,
    signin.sign_out,
    oidc.begin_oidc,
    oidc.finish_oidc,
    login.begin_login,
    login.fetch_login,
    login.show_login,
    login.confirm_login,
    users.list_users,
    users.add_user,
    users.read_user,
    users.erase_user,
    roles.grant_role,
    roles.revoke_role,
    tokens.list_tokens,
    tokens.issue_token,
    tokens.revoke_token,
    invitations.invite,
    invitations.list_invitations,
    invitations.withdraw_invitation,
    invitations.accept_invitation,
    secrets.list_secrets,
    secrets.set_secret,
    secrets.delete_secret,
    acts.list_acts,
)
