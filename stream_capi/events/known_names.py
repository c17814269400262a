"""The names that fields have in tracking, CRM and change-data schemas, for the guesses of ``stream-capi init``.

Names are in lower case and consist of letters and digits. They are the vocabulary of such systems (Snowplow, Segment,
RudderStack, GA4's export, HubSpot, Salesforce, Debezium), word by word; no schema is recognised as a whole.
"""

from __future__ import annotations

import re


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# For each field: the names that surely mean it, then, after the bar, those that may. Best first.
NAMES = {
    "event_id": "eventid messageid eventuuid leadid | id uuid submissionid conversionid inquiryid insertid",
    "event_time": "eventtime eventtimestamp occurredat originaltimestamp sentat collectortstamp derivedtstamp eventts "
    "| timestamp createdat time ts receivedat submittedat sourcetsms tsms created date createddate createdate",
    "event_source_url": "eventsourceurl pageurl url pagelocation sourceurl landingurl landingpage documentlocation "
    "| location href page pageuri uri",
    "dedupe_id": "dedupeid deduplicationid dedupid |",
    "data.currency": "currency currencycode currencyisocode valuecurrency trcurrency | curr",
    "data.value": "value leadvalue amount revenue conversionvalue | total price trtotal score eventvalueinusd",
    "user_data.aleid": "aleid axeid |",
    "user_data.axwrt": "axwrt |",
    "user_data.alart": "alart axart |",
    "user_data.client_id": "clientid axcid anonymousid domainuserid visitorid userpseudoid "
    "| deviceid cookieid gaclientid distinctid hubspotutk hutk networkuserid",
    "user_data.user_id": "userid customerid accountid memberid "
    "| customer account externalid contactid personid profileid subscriberid vid hsobjectid leadid",
    "user_data.email": "email emailaddress useremail customeremail emailsha256 hashedemail emailhash | mail",
    "user_data.phone": "phone phonenumber mobile mobilephone telephone msisdn phonesha256 hashedphone "
    "| tel cell cellphone mobileno mobilenumber",
    "user_data.client_ip_address": "clientipaddress clientip clientaddress ip ipaddress useripaddress userip remoteaddr "
    "remoteip | sourceip remotehost xforwardedfor",
    "user_data.client_user_agent": "clientuseragent useragent browseruseragent clientagent | ua agent",
    "user_data.esi": "esi | eventsource platform channel",
    "user_data.country_code": "countrycode | geocountry country billingcountry",
    "user_data.zip": "zip zipcode postalcode postcode geozipcode billingzip |",
    "user_data.os": "os osname operatingsystem osfamily | platform devicetype",
    "user_data.sid": "sid sessionid domainsessionid | session gasessionid",
    "user_data.ifa": "ifa idfa gaid advertisingid aaid adid |",
    "user_data.idfv": "idfv vendorid |",
}

# Names that are too short or too common to mean anything after words that are not known to go with them.
ALONE = _set(
    """
    id uuid time ts timestamp date created url uri href page location value amount total price score revenue ip
    ua agent customer account session platform channel mail tel cell mobile country zip os sid vid url curr
    """
)
# Words that say where a field is or whose, and don't change its meaning: ``context_traits_email``, ``billing_phone``.
_PLACES = (
    "context event data payload properties props traits message record body fields form formdata after new current hs "
)
_PERSON = "user customer client contact visitor lead person personal primary main home private mobile work "
_ADDRESS = _PERSON + "geo billing mailing shipping address "
BESIDE = {
    target: frozenset((_PLACES + more).split())
    for target, more in {
        "event_id": "lead submission conversion inquiry request unique",
        "event_source_url": "page landing document web source request full current first",
        "data.currency": "lead conversion order deal quote total transaction price amount iso",
        "data.value": "lead conversion expected deal order quote estimated total transaction purchase potential monetary",
        "user_data.client_ip_address": "client user customer visitor remote request x real ipv4 ipv6",
        "user_data.client_user_agent": "client user visitor browser request device http",
        "user_data.country_code": _ADDRESS,
        "user_data.zip": _ADDRESS,
        "user_data.os": "device user agent client",
        "user_data.sid": "domain visitor web ga user",
        "user_data.ifa": "device mobile apple android google ios",
        "user_data.idfv": "device mobile apple ios",
    }.items()
}
BESIDE_ANY = frozenset((_PLACES + _PERSON).split())

# Whole words of a schema's or a topic's name that make its events page views.
VIEWS = _set("page pages view views viewed visit visits visited pageview pageviews screenview screenviews")

# The state before a change, and people or things other than the lead: guessed last, and never sure.
PAST = _set("before previous old prev")
OTHERS = _set(
    """
    by owner agent seller assignee assigned creator sales rep representative advisor adviser broker dealer
    company business support sender recipient referrer referer refr partner manager employee staff server system
    vendor merchant store affiliate publisher job organization organisation parent secondary alternate
    alternative emergency spouse admin operator reviewer approver
    """
)
# Things of which a record has several: the price of one is not the value of the lead.
PARTS = _set("items item products product lines line cart basket")
# Words that change a name's meaning: ``is_valid_email``, ``postal_code_from_ip``, ``email_consent``.
NOT_IT = _set(
    """
    is has can num count valid invalid verified verification unverified consent optin opt status type template
    domain version from of to utm bounce bounced subject campaign label title length preference preferences
    format mask
    """
)
NOT_IT_FOR = {
    "data.value": _set(
        """
    annual yearly company tax discount shipping rate percent percentage income salary balance lat lon latitude
    longitude score scores max min fee items item product budget lifetime page string int double float
    """
    ),
    "user_data.client_ip_address": _set("server host destination dest gateway proxy upstream local private"),
    "event_source_url": _set(
        """
    referrer referer refr image img icon avatar photo video callback webhook redirect api endpoint profile logo
    """
    ),
    "user_data.user_id": _set("offer session device network"),
}
# What may follow a name without changing it.
NOISE = ("string", "str", "text", "raw")
# In an identifier they mean ``id``: ``customer_no``, ``member number``.
NUMBERS = ("no", "nr", "num", "number", "uuid", "guid", "ref")
# Things whose id is the event's id, and fields that a record is wrapped in.
EVENT_LIKE = _set(
    """
    event message lead submission conversion inquiry quote request signup registration enquiry
    """
)
WRAPPERS = _set(
    """
    data payload properties after new record body value detail fields metadata meta header envelope
    """
)

# Times
TIME_WORDS = _set("time timestamp tstamp ts date datetime at on when")
MOMENTS = _set("timestamp tstamp ts date datetime at on")  # never a duration
EVENT_WORDS = _set(
    """
    submission submitted submit created creation create occurred occurrence event consumption consumed sent lead
    inquiry enquiry signup registered registration enrolled enrollment enrolment conversion converted commit
    requested request form entry captured collector derived original client visit hit
    """
)
NEVER_TIMES = _set(
    """
    birth birthday dob born expiry expire expires expired expiration end ends ended valid until due next consent
    tombstone inactive deleted deletion scheduled effective renewal closed close terminated from move trial
    timezone zone
    """
)
LATER_TIMES = _set(
    """
    updated update modified modification changed last processed ingest ingested ingestion load loaded etl
    published enriched first
    """
)
COUNTS = re.compile(r"(?:_(?:s|secs?|ms|us)|_?(?:seconds|millis|micros))$", re.IGNORECASE)  # units in a time's name
DOCUMENTED_UNITS = (
    ("us", re.compile(r"\bmicro-?sec|\bmicros\b|µs", re.IGNORECASE)),
    ("ms", re.compile(r"\bmilli-?sec|\bmillis\b|\bms\b", re.IGNORECASE)),
    ("s", re.compile(r"\b(?:unix |epoch )?seconds\b|\bsecs\b|\bunix time", re.IGNORECASE)),
)

# Patterns in a field's doc that say what it holds.
DOCUMENTED = {
    target: re.compile(pattern, re.IGNORECASE)
    for target, pattern in {
        "event_id": r"\b(?:unique )?(?:id|identifier) (?:of|for) (?:the|this|an?) (?:event|message|lead|submission)\b",
        "event_time": r"\b(?:when|time|date|moment)\b.{0,40}\b(?:occurred|happened|submitted|created|triggered|took place)\b",
        "event_source_url": r"\burl of the (?:web ?)?page\b|\b(?:page|landing page|source|document)'?s? url\b",
        "data.currency": r"\biso.?4217\b|\bcurrency code\b",
        "data.value": r"\b(?:lead|conversion|monetary|deal)(?:'s)? value\b|\bvalue of the (?:lead|conversion|deal)\b",
        "user_data.client_id": r"\bfirst.party (?:cookie|id)|\banonymous id|\bcookie id",
        "user_data.user_id": r"\b(?:id|identifier) (?:of|for) the (?:user|customer|member)\b",
        "user_data.email": r"\be-?mail address\b",
        "user_data.phone": r"\b(?:phone|telephone|mobile) number\b",
        "user_data.client_ip_address": r"\bip(?:v4|v6)?[ -]address\b",
        "user_data.client_user_agent": r"\buser.?agent\b",
        "user_data.country_code": r"\biso.?3166\b|\bcountry code\b",
        "user_data.zip": r"\bpostal code\b|\bzip code\b|\bpostcode\b",
        "user_data.sid": r"\bsession (?:id|identifier)\b|\bidentifier (?:of|for) the session\b",
    }.items()
}

# Names of maps that suggest which keys records have in them; a schema doesn't state a map's keys.
MAPS_OF_A_PERSON = _set("traits usertraits userproperties personproperties")
MAPS_OF_AN_EVENT = _set("properties eventproperties props eventparams")
KEYS = {"user_data.email": "email", "user_data.phone": "phone", "data.currency": "currency", "data.value": "value"}

# What an enum's symbols or a text's values mean.
SOURCES = {
    spelling: esi
    for esi, spellings in {
        "web": "web website webapp browser desktopweb mobileweb mweb www site landingpage",
        "app": "app mob mobile mobileapp ios android iosapp androidapp iphone ipad native inapp",
    }.items()
    for spelling in spellings.split()
}
TEXT_SOURCES = ("web", "app", "mob", "mobile", "ios", "android")  # for a text field: a schema doesn't list its values
SYSTEMS = {
    spelling: system
    for system, spellings in {
        "ios": "iosapp iphone ipad iosphone",
        "android": "androidapp androidphone",
        "desktop_os": "desktop pc windowspc",
    }.items()
    for spelling in spellings.split()
}
NO_SYMBOLS = _set("unknown other none unspecified undefined null na default")

CONSENTS = _set("consent consents consented optin optins adsstorage adstorage")
NO_CONSENT = _set(
    """
    denied declined rejected withdrawn revoked library provider resolution timestamp time date at on source version id
    channel method text url ip language tcf tc string
    """
)

# Fields that say what kind of event a record is, best first.
EVENT_FIELDS = ("eventname", "eventtype", "event", "type")
