package api

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/seed-e88a4ece/signoff/fhir/rest"
)

// capabilityDate is the date of the CapabilityStatement. Change it with the
// statement's content.
const capabilityDate = "2026-11-29"

// The elements of a CapabilityStatement that are in use, in the order of FHIR.
type (
	capability struct {
		ResourceType   string            `json:"resourceType"`
		Status         string            `json:"status"`
		Date           string            `json:"date"`
		Kind           string            `json:"kind"`
		Software       software          `json:"software"`
		Implementation implementation    `json:"implementation"`
		FHIRVersion    string            `json:"fhirVersion"`
		Format         []string          `json:"format"`
		Rest           [1]restCapability `json:"rest"`
	}
	software struct {
		Name string `json:"name"`
	}
	implementation struct {
		Description string `json:"description"`
		URL         string `json:"url"`
	}
	restCapability struct {
		Mode        string               `json:"mode"`
		Security    securityCapability   `json:"security"`
		Resource    []resourceCapability `json:"resource"`
		Interaction []interaction        `json:"interaction"`
	}
	securityCapability struct {
		Extension   []extension `json:"extension"`
		CORS        bool        `json:"cors"`
		Service     []service   `json:"service"`
		Description string      `json:"description"`
	}
	extension struct {
		URL       string      `json:"url"`
		Extension []extension `json:"extension,omitempty"`
		ValueURI  string      `json:"valueUri,omitempty"`
	}
	service struct {
		Coding []coding `json:"coding"`
	}
	coding struct {
		System string `json:"system"`
		Code   string `json:"code"`
	}
	resourceCapability struct {
		Type            string            `json:"type"`
		Documentation   string            `json:"documentation"`
		Interaction     []interaction     `json:"interaction"`
		Versioning      string            `json:"versioning"`
		ReadHistory     bool              `json:"readHistory"`
		ConditionalRead string            `json:"conditionalRead"`
		SearchInclude   []string          `json:"searchInclude,omitempty"`
		SearchParam     []searchParameter `json:"searchParam"`
	}
	interaction struct {
		Code string `json:"code"`
	}
	searchParameter struct {
		Name          string `json:"name"`
		Type          string `json:"type"`
		Documentation string `json:"documentation"`
	}
)

// capabilityStatement returns the CapabilityStatement of the API. Its parameters and
// formats come from the tables by which requests are read. Parameters without a kind are
// left out.
func capabilityStatement(cfg Config) []byte {
	c := capability{
		ResourceType: "CapabilityStatement", Status: "active", Date: capabilityDate, Kind: "instance",
		Software:       software{"Sign-off publisher"},
		Implementation: implementation{"Response assessments (RECIST 1.1) that a Principal Investigator has signed off", cfg.PublicURL + cfg.BasePath},
		FHIRVersion:    "4.1.0",
		Format:         rest.Formats(),
		Rest: [1]restCapability{{
			Mode: "server",
			Security: securityCapability{
				Extension: []extension{{
					URL:       "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
					Extension: []extension{{URL: "token", ValueURI: cfg.TokenURL}},
				}},
				Service: []service{{Coding: []coding{{"http://terminology.hl7.org/CodeSystem/restful-security-service", "OAuth"}}}},
				Description: "OAuth 2.0 client credentials. Each call needs the headers Authorization: Bearer {access_token} and x-partnerid: {partnerId}; " +
					"metadata, openapi.yaml and docs need none.",
			},
			Resource: []resourceCapability{{
				Type: "DiagnosticReport",
				Documentation: "The available reports of one study. A search needs researchstudy, has " + strconv.Itoa(cfg.Count) +
					" reports on a page and at most " + strconv.Itoa(cfg.MaxCount) + ". Modifiers and chained parameters are refused.",
				Interaction:     []interaction{{"read"}, {"vread"}, {"history-instance"}, {"history-type"}, {"search-type"}},
				Versioning:      "versioned",
				ConditionalRead: "not-match",
				SearchInclude:   []string{"DiagnosticReport:result"},
			}, {
				Type:            "Observation",
				Documentation:   "The lesions of the available reports of one study, in the order of the reports. Modifiers and chained parameters are refused.",
				Interaction:     []interaction{{"read"}, {"search-type"}},
				Versioning:      "versioned",
				ConditionalRead: "not-match",
			}},
			Interaction: []interaction{{"history-system"}},
		}},
	}
	for i, table := range [][]parameter{searchParameters(""), observationParameters("")} {
		for _, p := range table {
			if p.kind != "" {
				c.Rest[0].Resource[i].SearchParam = append(c.Rest[0].Resource[i].SearchParam, searchParameter{p.name, p.kind, p.text})
			}
		}
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(c); err != nil {
		panic(err) // the structs consist of text
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}
